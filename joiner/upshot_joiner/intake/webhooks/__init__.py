"""Labels that other systems send of their own accord.

In: requests to ``POST /v1/labels`` that are signed by Standard Webhooks, and whatever JSON another system posts to
``POST /v1/hooks/{source}``. Out: label events for the committer. Promises: a signature is checked byte for byte before anything is
decoded, and every fault of it has the same answer; nothing is acknowledged before it is stored; a delivery that comes again
counts once, also after a restart; a body that no mapping understands is kept until one does.
"""
