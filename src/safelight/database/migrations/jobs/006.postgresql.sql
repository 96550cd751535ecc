-- Times are microseconds since 1970, as everywhere; they were seconds.
ALTER TABLE jobs
  ALTER COLUMN created TYPE BIGINT USING round(created * 1000000)::bigint,
  ALTER COLUMN started TYPE BIGINT USING round(started * 1000000)::bigint,
  ALTER COLUMN ended TYPE BIGINT USING round(ended * 1000000)::bigint,
  ALTER COLUMN expires TYPE BIGINT USING round(expires * 1000000)::bigint,
  ALTER COLUMN lease TYPE BIGINT USING round(lease * 1000000)::bigint;

ALTER TABLE events ALTER COLUMN created TYPE BIGINT USING round(created * 1000000)::bigint;

ALTER TABLE workers
  ALTER COLUMN started TYPE BIGINT USING round(started * 1000000)::bigint,
  ALTER COLUMN seen TYPE BIGINT USING round(seen * 1000000)::bigint;
