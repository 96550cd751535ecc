ALTER TABLE jobs ADD COLUMN summary TEXT;

UPDATE jobs
  SET summary = jsonb_set(
    request::jsonb, '{images}', to_jsonb(json_array_length(request::json -> 'images'))
  )::text
  WHERE json_typeof(request::json -> 'images') = 'array';
