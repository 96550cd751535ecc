ALTER TABLE jobs ADD COLUMN summary TEXT;

UPDATE jobs
  SET summary = json_set(request, '$.images', json_array_length(request, '$.images'))
  WHERE json_type(request, '$.images') = 'array';
