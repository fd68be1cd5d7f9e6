-- Which server makes a report and has its page, where several share the store.
ALTER TABLE reports ADD COLUMN IF NOT EXISTS owner String;
