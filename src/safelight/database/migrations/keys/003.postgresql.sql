-- Times are microseconds since 1970, as everywhere; they were seconds.
ALTER TABLE keys
  ALTER COLUMN created TYPE BIGINT USING round(created * 1000000)::bigint,
  ALTER COLUMN used TYPE BIGINT USING round(used * 1000000)::bigint,
  ALTER COLUMN revoked TYPE BIGINT USING round(revoked * 1000000)::bigint;

ALTER TABLE key_sessions
  ALTER COLUMN opened TYPE BIGINT USING round(opened * 1000000)::bigint,
  ALTER COLUMN expires TYPE BIGINT USING round(expires * 1000000)::bigint;
