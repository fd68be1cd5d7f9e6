-- How far each named pull (`upshot labels pull`) has read its database: kept here so that any machine can go on. The last note counts.
CREATE TABLE IF NOT EXISTS pulls (
  name String,
  watermark String,                          -- JSON: kind and value
  noted_at DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(noted_at)
ORDER BY name
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
