-- The database as c421f3b made it. It stays as it is.

CREATE TABLE schema_versions (part VARCHAR(40) NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (part));

CREATE TABLE blobs (
  digest VARCHAR(64) NOT NULL,
  created BIGINT NOT NULL,
  data BYTEA NOT NULL,
  PRIMARY KEY (digest)
);

CREATE INDEX ix_blobs_created ON blobs (created);

CREATE TABLE entries (
  number BIGSERIAL NOT NULL,
  id VARCHAR(22) NOT NULL,
  job_id TEXT,
  "index" INTEGER NOT NULL,
  owner TEXT,
  created BIGINT NOT NULL,
  width INTEGER NOT NULL,
  height INTEGER NOT NULL,
  decision VARCHAR(10) NOT NULL,
  unsafe FLOAT,
  mode TEXT,
  seed BIGINT,
  steps INTEGER,
  sampler TEXT,
  checkpoint TEXT,
  family TEXT,
  kind VARCHAR(10),
  size BIGINT NOT NULL,
  sha256 VARCHAR(64),
  missing BOOLEAN NOT NULL,
  favourite BOOLEAN NOT NULL,
  PRIMARY KEY (number),
  UNIQUE (job_id, "index"),
  UNIQUE (id)
);

CREATE UNIQUE INDEX entries_by_key ON entries (substr(id, 10));

CREATE INDEX entries_by_owner ON entries (owner, number);

CREATE INDEX ix_entries_created ON entries (created);

CREATE INDEX ix_entries_seed ON entries (seed);

CREATE TABLE entry_details (
  number BIGINT NOT NULL,
  prompt TEXT NOT NULL,
  negative_prompt TEXT NOT NULL,
  infotext TEXT,
  record TEXT,
  checkpoint_digest TEXT,
  policy TEXT,
  scores TEXT NOT NULL,
  embedding BYTEA,
  PRIMARY KEY (number),
  FOREIGN KEY(number) REFERENCES entries (number) ON DELETE CASCADE
);

CREATE TABLE entry_tags (
  tag VARCHAR(64) NOT NULL,
  number BIGINT NOT NULL,
  PRIMARY KEY (tag, number),
  FOREIGN KEY(number) REFERENCES entries (number) ON DELETE CASCADE
);

CREATE INDEX ix_entry_tags_number ON entry_tags (number);

CREATE TABLE entry_words (number BIGINT PRIMARY KEY REFERENCES entries ON DELETE CASCADE, vector TSVECTOR NOT NULL);

CREATE INDEX entry_words_vector ON entry_words USING gin (vector) WITH (fastupdate = off);

CREATE TABLE jobs (
  id VARCHAR(40) NOT NULL,
  owner VARCHAR(200) NOT NULL,
  kind VARCHAR(20) NOT NULL,
  state VARCHAR(20) NOT NULL,
  request TEXT NOT NULL,
  priority INTEGER NOT NULL,
  turn FLOAT NOT NULL,
  cost FLOAT NOT NULL,
  passed INTEGER NOT NULL,
  checkpoint TEXT NOT NULL,
  timeout FLOAT,
  idempotency_key VARCHAR(200),
  request_id VARCHAR(200) NOT NULL,
  created FLOAT NOT NULL,
  started FLOAT,
  ended FLOAT,
  expires FLOAT,
  attempt INTEGER NOT NULL,
  lost INTEGER NOT NULL,
  worker VARCHAR(200),
  lease FLOAT,
  signal VARCHAR(20),
  progress TEXT,
  result TEXT,
  error TEXT,
  PRIMARY KEY (id),
  UNIQUE (owner, idempotency_key)
);

CREATE INDEX jobs_by_owner ON jobs (owner, created);

CREATE INDEX jobs_by_owner_and_turn ON jobs (owner, state, turn);

CREATE INDEX jobs_by_turn ON jobs (state, priority DESC, turn, id);

CREATE INDEX jobs_by_expiry ON jobs (expires);

CREATE TABLE turn_clock (
  priority INTEGER NOT NULL,
  turn FLOAT NOT NULL,
  PRIMARY KEY (priority)
);

CREATE TABLE timings (
  "key" TEXT NOT NULL,
  seconds FLOAT NOT NULL,
  PRIMARY KEY ("key")
);

CREATE TABLE workers (
  name VARCHAR(200) NOT NULL,
  host VARCHAR(200) NOT NULL,
  pid INTEGER NOT NULL,
  device VARCHAR(50) NOT NULL,
  state VARCHAR(20) NOT NULL,
  checkpoints TEXT NOT NULL,
  memory FLOAT NOT NULL,
  started FLOAT NOT NULL,
  seen FLOAT NOT NULL,
  PRIMARY KEY (name)
);

CREATE TABLE job_blobs (
  job_id VARCHAR(40) NOT NULL,
  digest VARCHAR(64) NOT NULL,
  PRIMARY KEY (job_id, digest),
  FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE INDEX ix_job_blobs_digest ON job_blobs (digest);

CREATE TABLE events (
  id BIGSERIAL NOT NULL,
  job_id VARCHAR(40) NOT NULL,
  kind VARCHAR(20) NOT NULL,
  data TEXT NOT NULL,
  created FLOAT NOT NULL,
  PRIMARY KEY (id),
  FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE INDEX ix_events_job_id ON events (job_id);

CREATE TABLE previews (
  job_id VARCHAR(40) NOT NULL,
  number INTEGER NOT NULL,
  data BYTEA NOT NULL,
  PRIMARY KEY (job_id),
  FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE TABLE unloading (
  id SERIAL NOT NULL,
  asked FLOAT NOT NULL,
  PRIMARY KEY (id)
);

DROP TABLE workers;

DROP TABLE unloading;

CREATE TABLE workers (
  name VARCHAR(200) NOT NULL,
  host VARCHAR(200) NOT NULL,
  pid INTEGER NOT NULL,
  device VARCHAR(50) NOT NULL,
  precision VARCHAR(20) DEFAULT '' NOT NULL,
  backend VARCHAR(20) DEFAULT '' NOT NULL,
  why TEXT DEFAULT '' NOT NULL,
  state VARCHAR(20) NOT NULL,
  loading TEXT,
  last_error TEXT DEFAULT 'null' NOT NULL,
  checkpoints TEXT NOT NULL,
  memory FLOAT NOT NULL,
  started FLOAT NOT NULL,
  seen FLOAT NOT NULL,
  PRIMARY KEY (name)
);

CREATE TABLE memory_orders (
  number BIGSERIAL NOT NULL,
  checkpoint TEXT NOT NULL,
  load BOOLEAN NOT NULL,
  PRIMARY KEY (number)
);

ALTER TABLE jobs ADD COLUMN summary TEXT;

UPDATE jobs
  SET summary = jsonb_set(
    request::jsonb, '{images}', to_jsonb(json_array_length(request::json -> 'images'))
  )::text
  WHERE json_typeof(request::json -> 'images') = 'array';

CREATE TABLE job_inputs (
  job_id VARCHAR(40) NOT NULL,
  owner VARCHAR(200) NOT NULL,
  bytes BIGINT NOT NULL,
  PRIMARY KEY (job_id),
  FOREIGN KEY (job_id) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE INDEX ix_job_inputs_owner ON job_inputs (owner);

-- What a unit of cost is has changed for enlargements, scans and drawings from pictures.
DELETE FROM timings;

CREATE TABLE keys (
  id VARCHAR(12) NOT NULL,
  name VARCHAR(64) NOT NULL,
  active_name VARCHAR(64),
  digest VARCHAR(64) NOT NULL,
  role VARCHAR(20) NOT NULL,
  pictures_per_day INTEGER,
  megapixels_per_day FLOAT,
  created FLOAT NOT NULL,
  used FLOAT,
  revoked FLOAT,
  PRIMARY KEY (id),
  UNIQUE (active_name)
);

CREATE TABLE key_usage (
  key_id VARCHAR(12) NOT NULL,
  day INTEGER NOT NULL,
  pictures BIGINT NOT NULL,
  pixels BIGINT NOT NULL,
  PRIMARY KEY (key_id, day),
  FOREIGN KEY(key_id) REFERENCES keys (id) ON DELETE CASCADE
);

CREATE TABLE key_sessions (
  digest VARCHAR(64) NOT NULL,
  key_id VARCHAR(12) NOT NULL,
  opened FLOAT NOT NULL,
  expires FLOAT NOT NULL,
  PRIMARY KEY (digest),
  FOREIGN KEY(key_id) REFERENCES keys (id) ON DELETE CASCADE
);

CREATE INDEX ix_key_sessions_key_id ON key_sessions (key_id);

INSERT INTO blobs ("digest", "created", "data") VALUES ('3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3', 1795957064948197, '\x74776f');

INSERT INTO blobs ("digest", "created", "data") VALUES ('7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed', 1795957064948197, '\x6f6e65');

INSERT INTO blobs ("digest", "created", "data") VALUES ('b2917681b4f4fee3ef345ae33557fbe7ddbee9e0851efbff9cad5708ef1ad247', 1795957064795004, '\x616e6f746865722070696374757265');

INSERT INTO entries ("number", "id", "job_id", "index", "owner", "created", "width", "height", "decision", "unsafe", "mode", "seed", "steps", "sampler", "checkpoint", "family", "kind", "size", "sha256", "missing", "favourite") VALUES (1, '1m86ptpg0zvdgmp1p28c00', 'job-1', 0, 'anna', 1795521600000000, 32, 16, 'allow', 0.125, 'text-to-image', 1, 20, 'Euler a', 'starter', 'sd1-starter', 'png', 2818, 'f928ed5ccebcaa908f569b937388b6e41364425d29b3238ff3237eb7daee6974', false, true);

INSERT INTO entries ("number", "id", "job_id", "index", "owner", "created", "width", "height", "decision", "unsafe", "mode", "seed", "steps", "sampler", "checkpoint", "family", "kind", "size", "sha256", "missing", "favourite") VALUES (2, '1m86ptpg0ze8p8wstxe6g0', 'job-2', 0, 'anna', 1795521600000000, 32, 16, 'review', 0.125, 'text-to-image', 2, 20, 'Euler a', 'starter', 'sd1-starter', 'png', 2854, '1404c7bb7274eaf6bf8a90f8f123c1da27243d810dfddc4816eb73645e0b8cc8', false, false);

INSERT INTO entries ("number", "id", "job_id", "index", "owner", "created", "width", "height", "decision", "unsafe", "mode", "seed", "steps", "sampler", "checkpoint", "family", "kind", "size", "sha256", "missing", "favourite") VALUES (3, '1m86ptpg0524dk0sd2q6da', 'job-3', 0, 'anna', 1795521600000000, 32, 16, 'block', 0.125, 'text-to-image', 3, 20, 'Euler a', 'starter', 'sd1-starter', NULL, 0, NULL, false, false);

INSERT INTO entries ("number", "id", "job_id", "index", "owner", "created", "width", "height", "decision", "unsafe", "mode", "seed", "steps", "sampler", "checkpoint", "family", "kind", "size", "sha256", "missing", "favourite") VALUES (4, '1m86ptpg064es8n3eehkcd', 'job-4', 0, 'anna', 1795521600000000, 32, 16, 'allow', 0.125, 'text-to-image', 4, 20, 'Euler a', 'starter', 'sd1-starter', 'png', 2818, 'a9c87ff0bad77f912fec410604f2d2a4e47f689827cf5dd82236e2839a7da1a6', false, false);

INSERT INTO jobs ("id", "owner", "kind", "state", "request", "priority", "turn", "cost", "passed", "checkpoint", "timeout", "idempotency_key", "request_id", "created", "started", "ended", "expires", "attempt", "lost", "worker", "lease", "signal", "progress", "result", "error", "summary") VALUES ('1a22761ffe2c02ab84c6283348f', 'anna', 'generate', 'succeeded', '{"prompt": "a red apple, 0", "seed": 0}', 0, 1.0, 1.0, 0, 'starter', NULL, NULL, 'r-1', 1795957063.6859689, 1795957063.842401, 1795957063.8986633, 1796561863.8986633, 1, 0, 'here:cpu:0', NULL, NULL, NULL, '{"pictures": [{"id": "1", "url": null, "scores": {"sfw": 0.875}}]}', NULL, NULL);

INSERT INTO jobs ("id", "owner", "kind", "state", "request", "priority", "turn", "cost", "passed", "checkpoint", "timeout", "idempotency_key", "request_id", "created", "started", "ended", "expires", "attempt", "lost", "worker", "lease", "signal", "progress", "result", "error", "summary") VALUES ('1a22762012e42ba1aa427a4087a', 'anna', 'generate', 'failed', '{"prompt": "a red apple, 1", "seed": 1}', 0, 2.0, 1.0, 0, 'starter', NULL, NULL, 'r-1', 1795957063.9892101, 1795957064.142399, 1795957064.197395, 1796561864.197395, 1, 0, 'here:cpu:0', NULL, NULL, NULL, NULL, '{"code": "request", "message": "0 steps are too few; it''s no error of ours.", "hint": "docs/generation.md lists every field with its range."}', NULL);

INSERT INTO jobs ("id", "owner", "kind", "state", "request", "priority", "turn", "cost", "passed", "checkpoint", "timeout", "idempotency_key", "request_id", "created", "started", "ended", "expires", "attempt", "lost", "worker", "lease", "signal", "progress", "result", "error", "summary") VALUES ('1a2276202579ccd441dc77a46f7', 'anna', 'upscale', 'cancelled', '{"image": {"blob": "92b2fa58028958317e408bd84ecfa70f5ee35b121991dbc232c49d166353708b"}}', 0, 3.0, 1.0, 0, '', NULL, NULL, 'r-1', 1795957064.2802806, NULL, 1795957064.4626396, 1796561864.4626396, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

INSERT INTO jobs ("id", "owner", "kind", "state", "request", "priority", "turn", "cost", "passed", "checkpoint", "timeout", "idempotency_key", "request_id", "created", "started", "ended", "expires", "attempt", "lost", "worker", "lease", "signal", "progress", "result", "error", "summary") VALUES ('1a2276203966238c6738be681bb', 'anna', 'generate', 'running', '{"prompt": "a kitchen; a table\nand ''chairs'' \\ 100 %", "seed": 7}', 0, 3.0, 1.0, 0, 'starter', NULL, NULL, 'r-1', 1795957064.6023974, 1795957064.671806, NULL, NULL, 1, 0, 'here:cpu:0', 1795957079.671806, NULL, '{"stage":"first pass","step":3,"steps":20,"picture":0,"pictures":1,"fraction":0.15,"seconds":0.5}', NULL, NULL, NULL);

INSERT INTO jobs ("id", "owner", "kind", "state", "request", "priority", "turn", "cost", "passed", "checkpoint", "timeout", "idempotency_key", "request_id", "created", "started", "ended", "expires", "attempt", "lost", "worker", "lease", "signal", "progress", "result", "error", "summary") VALUES ('1a227620457795da47b6675582c', 'anna', 'generate', 'queued', '{"init_image": {"blob": "b2917681b4f4fee3ef345ae33557fbe7ddbee9e0851efbff9cad5708ef1ad247"}, "prompt": "ein gr\u00fcner Apfel"}', 0, 4.0, 1.0, 0, 'starter', NULL, 'again-1', 'r-1', 1795957064.7943907, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

INSERT INTO jobs ("id", "owner", "kind", "state", "request", "priority", "turn", "cost", "passed", "checkpoint", "timeout", "idempotency_key", "request_id", "created", "started", "ended", "expires", "attempt", "lost", "worker", "lease", "signal", "progress", "result", "error", "summary") VALUES ('1a2276204ebf456a826f4640f13', 'anna', 'scan', 'queued', '{"images": [{"blob": "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"}, {"blob": "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"}, {"blob": "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"}]}', 0, 5.0, 1.0, 0, '', NULL, NULL, 'r-1', 1795957064.9473884, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, '{"images": 3}');

INSERT INTO keys ("id", "name", "active_name", "digest", "role", "pictures_per_day", "megapixels_per_day", "created", "used", "revoked") VALUES ('69fc4cfa4eef', 'anna', 'anna', '2f7fa87dc081f2f07b2c9c647cf8df4009daedca93de6df1ae14a64850102f3a', 'user', 100, 250.5, 1795957066.137154, 1795957066.2031295, NULL);

INSERT INTO keys ("id", "name", "active_name", "digest", "role", "pictures_per_day", "megapixels_per_day", "created", "used", "revoked") VALUES ('dc5e79e4811f', 'bert', NULL, '745c1f1c1f9df31cc6b6343e04d9e9d8638565d3e288c413d8ca2a3fe1f692c0', 'user', NULL, NULL, 1795957066.2989044, NULL, 1795957066.3036873);

INSERT INTO memory_orders ("number", "checkpoint", "load") VALUES (1, 'starter', true);

INSERT INTO schema_versions ("part", "version") VALUES ('blobs', 1);

INSERT INTO schema_versions ("part", "version") VALUES ('gallery', 2);

INSERT INTO schema_versions ("part", "version") VALUES ('jobs', 5);

INSERT INTO schema_versions ("part", "version") VALUES ('keys', 2);

INSERT INTO timings ("key", "seconds") VALUES ('generate starter', 1.5);

INSERT INTO turn_clock ("priority", "turn") VALUES (0, 3.0);

INSERT INTO workers ("name", "host", "pid", "device", "precision", "backend", "why", "state", "loading", "last_error", "checkpoints", "memory", "started", "seen") VALUES ('here:cpu:0', 'here', 1234, 'cpu', 'fp32', 'eager', 'There is no GPU.', 'busy', NULL, 'null', '["starter"]', 1250000000.0, 1795957065.222634, 1795957065.222823);

INSERT INTO entry_details ("number", "prompt", "negative_prompt", "infotext", "record", "checkpoint_digest", "policy", "scores", "embedding") VALUES (1, 'a red apple', 'blurry', 'a red apple
Negative prompt: blurry
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 32x16, Model hash: ababababab, Model: starter, Version: Safelight 0.2.0', '{"format":1,"versions":{"safelight":"0.2.0","torch":"2","diffusers":"0.42","transformers":"5"},"machine":{"device":"cpu","precision":"fp32","backend":"eager","threads":2},"batched":false,"mode":"text-to-image","checkpoint":{"name":"starter","family":"sd1-starter","digest":"abababababababababababababababababababababababababababababababab"},"adapters":[],"prompt":"a red apple","negative_prompt":"blurry","styles":[],"expanded_prompt":"a red apple","expanded_negative_prompt":"blurry","seed":1,"variation":null,"width":32,"height":16,"steps":20,"sampler":"Euler a","schedule":null,"eta":null,"guidance_scale":7.0,"guidance_rescale":0.0,"guidance_start":0.0,"guidance_end":1.0,"guidance_method":"cfg","pag_scale":0.0,"clip_skip":1,"init_image":null,"mask":null,"strength":null,"inpaint":null,"outpaint":null,"hires":null,"verdict":{"policy":"standard","version":"1","digest":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","decision":"allow"},"file":null,"notes":[]}', 'abababababababababababababababababababababababababababababababab', 'standard', '{"sfw": 0.875, "nsfw": 0.125}', '\x000080bf6edb36bfb76ddbbe254912be2549123eb76ddb3e6edb363f0000803f');

INSERT INTO entry_details ("number", "prompt", "negative_prompt", "infotext", "record", "checkpoint_digest", "policy", "scores", "embedding") VALUES (2, 'a green pear; it''s ripe', 'blurry', 'a green pear; it''s ripe
Negative prompt: blurry
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 2, Size: 32x16, Model hash: ababababab, Model: starter, Version: Safelight 0.2.0', '{"format":1,"versions":{"safelight":"0.2.0","torch":"2","diffusers":"0.42","transformers":"5"},"machine":{"device":"cpu","precision":"fp32","backend":"eager","threads":2},"batched":false,"mode":"text-to-image","checkpoint":{"name":"starter","family":"sd1-starter","digest":"abababababababababababababababababababababababababababababababab"},"adapters":[],"prompt":"a green pear; it''s ripe","negative_prompt":"blurry","styles":[],"expanded_prompt":"a green pear; it''s ripe","expanded_negative_prompt":"blurry","seed":2,"variation":null,"width":32,"height":16,"steps":20,"sampler":"Euler a","schedule":null,"eta":null,"guidance_scale":7.0,"guidance_rescale":0.0,"guidance_start":0.0,"guidance_end":1.0,"guidance_method":"cfg","pag_scale":0.0,"clip_skip":1,"init_image":null,"mask":null,"strength":null,"inpaint":null,"outpaint":null,"hires":null,"verdict":{"policy":"standard","version":"1","digest":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","decision":"allow"},"file":null,"notes":[]}', 'abababababababababababababababababababababababababababababababab', 'standard', '{"sfw": 0.875, "nsfw": 0.125}', '\x000000c06edbb6bfb76d5bbf254992be2549923eb76d5b3f6edbb63f00000040');

INSERT INTO entry_details ("number", "prompt", "negative_prompt", "infotext", "record", "checkpoint_digest", "policy", "scores", "embedding") VALUES (3, 'a blocked one', 'blurry', 'a blocked one
Negative prompt: blurry
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 3, Size: 32x16, Model hash: ababababab, Model: starter, Version: Safelight 0.2.0', '{"format":1,"versions":{"safelight":"0.2.0","torch":"2","diffusers":"0.42","transformers":"5"},"machine":{"device":"cpu","precision":"fp32","backend":"eager","threads":2},"batched":false,"mode":"text-to-image","checkpoint":{"name":"starter","family":"sd1-starter","digest":"abababababababababababababababababababababababababababababababab"},"adapters":[],"prompt":"a blocked one","negative_prompt":"blurry","styles":[],"expanded_prompt":"a blocked one","expanded_negative_prompt":"blurry","seed":3,"variation":null,"width":32,"height":16,"steps":20,"sampler":"Euler a","schedule":null,"eta":null,"guidance_scale":7.0,"guidance_rescale":0.0,"guidance_start":0.0,"guidance_end":1.0,"guidance_method":"cfg","pag_scale":0.0,"clip_skip":1,"init_image":null,"mask":null,"strength":null,"inpaint":null,"outpaint":null,"hires":null,"verdict":{"policy":"standard","version":"1","digest":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","decision":"allow"},"file":null,"notes":[]}', 'abababababababababababababababababababababababababababababababab', 'standard', '{"sfw": 0.875, "nsfw": 0.125}', '\x000080bf6edb36bfb76ddbbe254912be');

INSERT INTO entry_details ("number", "prompt", "negative_prompt", "infotext", "record", "checkpoint_digest", "policy", "scores", "embedding") VALUES (4, 'without any', 'blurry', 'without any
Negative prompt: blurry
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 4, Size: 32x16, Model hash: ababababab, Model: starter, Version: Safelight 0.2.0', '{"format":1,"versions":{"safelight":"0.2.0","torch":"2","diffusers":"0.42","transformers":"5"},"machine":{"device":"cpu","precision":"fp32","backend":"eager","threads":2},"batched":false,"mode":"text-to-image","checkpoint":{"name":"starter","family":"sd1-starter","digest":"abababababababababababababababababababababababababababababababab"},"adapters":[],"prompt":"without any","negative_prompt":"blurry","styles":[],"expanded_prompt":"without any","expanded_negative_prompt":"blurry","seed":4,"variation":null,"width":32,"height":16,"steps":20,"sampler":"Euler a","schedule":null,"eta":null,"guidance_scale":7.0,"guidance_rescale":0.0,"guidance_start":0.0,"guidance_end":1.0,"guidance_method":"cfg","pag_scale":0.0,"clip_skip":1,"init_image":null,"mask":null,"strength":null,"inpaint":null,"outpaint":null,"hires":null,"verdict":{"policy":"standard","version":"1","digest":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","decision":"allow"},"file":null,"notes":[]}', 'abababababababababababababababababababababababababababababababab', 'standard', '{"sfw": 0.875, "nsfw": 0.125}', NULL);

INSERT INTO entry_tags ("tag", "number") VALUES ('fruit', 1);

INSERT INTO entry_tags ("tag", "number") VALUES ('red', 1);

INSERT INTO entry_words ("number", "vector") VALUES (1, '''0'':25,27 ''1'':15 ''2'':26 ''20'':8 ''32x16'':17 ''7'':13 ''a'':1A ''ababababab'':20 ''apple'':3A ''blurry'':4C ''cfg'':11 ''euler'':10 ''hash'':19 ''model'':18,21 ''negative'':5 ''prompt'':6 ''red'':2A ''safelight'':24 ''sampler'':9 ''scale'':12 ''seed'':14 ''size'':16 ''starter'':22 ''steps'':7 ''version'':23');

INSERT INTO entry_words ("number", "vector") VALUES (2, '''0'':28,30 ''2'':18,29 ''20'':11 ''32x16'':20 ''7'':16 ''a'':1A ''ababababab'':23 ''blurry'':7C ''cfg'':14 ''euler'':13 ''green'':2A ''hash'':22 ''it'':4A ''model'':21,24 ''negative'':8 ''pear'':3A ''prompt'':9 ''ripe'':6A ''s'':5A ''safelight'':27 ''sampler'':12 ''scale'':15 ''seed'':17 ''size'':19 ''starter'':25 ''steps'':10 ''version'':26');

INSERT INTO entry_words ("number", "vector") VALUES (3, '''0'':25,27 ''2'':26 ''20'':8 ''3'':15 ''32x16'':17 ''7'':13 ''a'':1A ''ababababab'':20 ''blocked'':2A ''blurry'':4C ''cfg'':11 ''euler'':10 ''hash'':19 ''model'':18,21 ''negative'':5 ''one'':3A ''prompt'':6 ''safelight'':24 ''sampler'':9 ''scale'':12 ''seed'':14 ''size'':16 ''starter'':22 ''steps'':7 ''version'':23');

INSERT INTO entry_words ("number", "vector") VALUES (4, '''0'':25,27 ''2'':26 ''20'':7 ''32x16'':17 ''4'':15 ''7'':13 ''a'':10 ''ababababab'':20 ''any'':2A ''blurry'':3C ''cfg'':11 ''euler'':9 ''hash'':19 ''model'':18,21 ''negative'':4 ''prompt'':5 ''safelight'':24 ''sampler'':8 ''scale'':12 ''seed'':14 ''size'':16 ''starter'':22 ''steps'':6 ''version'':23 ''without'':1A');

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (1, '1a22761ffe2c02ab84c6283348f', 'state', '{"state": "queued"}', 1795957063.6905794);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (2, '1a22761ffe2c02ab84c6283348f', 'state', '{"state": "running", "attempt": 1}', 1795957063.874414);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (3, '1a22761ffe2c02ab84c6283348f', 'state', '{"state": "succeeded"}', 1795957063.910748);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (4, '1a22762012e42ba1aa427a4087a', 'state', '{"state": "queued"}', 1795957063.989994);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (5, '1a22762012e42ba1aa427a4087a', 'state', '{"state": "running", "attempt": 1}', 1795957064.1679692);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (6, '1a22762012e42ba1aa427a4087a', 'state', '{"state": "failed", "error": {"code": "request", "message": "0 steps are too few; it''s no error of ours.", "hint": "docs/generation.md lists every field with its range."}}', 1795957064.23595);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (7, '1a2276202579ccd441dc77a46f7', 'state', '{"state": "queued"}', 1795957064.3264873);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (8, '1a2276202579ccd441dc77a46f7', 'state', '{"state": "cancelled"}', 1795957064.5400822);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (9, '1a2276203966238c6738be681bb', 'state', '{"state": "queued"}', 1795957064.6144748);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (10, '1a2276203966238c6738be681bb', 'state', '{"state": "running", "attempt": 1}', 1795957064.6839647);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (11, '1a2276203966238c6738be681bb', 'progress', '{"stage": "first pass", "step": 3, "steps": 20, "picture": 0, "pictures": 1, "fraction": 0.15, "seconds": 0.5}', 1795957064.7185147);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (12, '1a2276203966238c6738be681bb', 'preview', '{"number": 1}', 1795957064.7465124);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (13, '1a227620457795da47b6675582c', 'state', '{"state": "queued"}', 1795957064.7984931);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (14, '1a2276204ebf456a826f4640f13', 'state', '{"state": "queued"}', 1795957065.0224738);

INSERT INTO job_blobs ("job_id", "digest") VALUES ('1a227620457795da47b6675582c', 'b2917681b4f4fee3ef345ae33557fbe7ddbee9e0851efbff9cad5708ef1ad247');

INSERT INTO job_blobs ("job_id", "digest") VALUES ('1a2276204ebf456a826f4640f13', '3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3');

INSERT INTO job_blobs ("job_id", "digest") VALUES ('1a2276204ebf456a826f4640f13', '7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed');

INSERT INTO job_inputs ("job_id", "owner", "bytes") VALUES ('1a227620457795da47b6675582c', 'anna', 15);

INSERT INTO job_inputs ("job_id", "owner", "bytes") VALUES ('1a2276204ebf456a826f4640f13', 'anna', 6);

INSERT INTO key_sessions ("digest", "key_id", "opened", "expires") VALUES ('5984f546b614cd16fbe779ef3993cd5f80a7882d44842f1f344ef34f84cb7cb3', '69fc4cfa4eef', 1795957066.330445, 1798549066.330445);

INSERT INTO key_usage ("key_id", "day", "pictures", "pixels") VALUES ('69fc4cfa4eef', 20786, 3, 786432);

INSERT INTO previews ("job_id", "number", "data") VALUES ('1a2276203966238c6738be681bb', 1, '\x0077656270ff');

SELECT setval('entries_number_seq', 5);

SELECT setval('events_id_seq', 14);

SELECT setval('memory_orders_number_seq', 1);
