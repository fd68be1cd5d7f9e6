"""The dashboard: pages that show what the JSON API says, live.

In: nothing but the address a browser asks for. Out: HTML shells (`pages`) and the files they load (`assets`).
All numbers come from the JSON API of design §3.6, fetched by the modules in `static/`; no page has data of its own.
Promise: names and values come from requests, so they are only ever shown as text, under a strict content policy,
and a page asks no other host for anything.
"""
