-- The database as c421f3b made it. It stays as it is.

CREATE TABLE schema_versions (
  part VARCHAR(40) NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (part)
);

CREATE TABLE blobs (
  digest VARCHAR(64) NOT NULL,
  created BIGINT NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (digest)
);

CREATE INDEX ix_blobs_created ON blobs (created);

CREATE TABLE entries (
  number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
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
  UNIQUE (job_id, "index"),
  UNIQUE (id)
);

CREATE UNIQUE INDEX entries_by_key ON entries (substr(id, 10));

CREATE INDEX entries_by_owner ON entries (owner, number);

CREATE INDEX ix_entries_created ON entries (created);

CREATE INDEX ix_entries_seed ON entries (seed);

CREATE TABLE entry_details (
  number INTEGER NOT NULL,
  prompt TEXT NOT NULL,
  negative_prompt TEXT NOT NULL,
  infotext TEXT,
  record TEXT,
  checkpoint_digest TEXT,
  policy TEXT,
  scores TEXT NOT NULL,
  embedding BLOB,
  PRIMARY KEY (number),
  FOREIGN KEY(number) REFERENCES entries (number) ON DELETE CASCADE
);

CREATE TABLE entry_tags (
  tag VARCHAR(64) NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (tag, number),
  FOREIGN KEY(number) REFERENCES entries (number) ON DELETE CASCADE
);

CREATE INDEX ix_entry_tags_number ON entry_tags (number);

CREATE VIRTUAL TABLE entry_words USING fts5(prompt, negative, rest, tokenize='ascii', prefix='1 2 3');

CREATE TRIGGER entry_words_follow AFTER DELETE ON entries BEGIN
  DELETE FROM entry_words WHERE rowid = old.number;
END;

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
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  job_id VARCHAR(40) NOT NULL,
  kind VARCHAR(20) NOT NULL,
  data TEXT NOT NULL,
  created FLOAT NOT NULL,
  FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE INDEX ix_events_job_id ON events (job_id);

CREATE TABLE previews (
  job_id VARCHAR(40) NOT NULL,
  number INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (job_id),
  FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE TABLE unloading (
  id INTEGER NOT NULL,
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
  number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  checkpoint TEXT NOT NULL,
  load BOOLEAN NOT NULL
);

ALTER TABLE jobs ADD COLUMN summary TEXT;

UPDATE jobs
  SET summary = json_set(request, '$.images', json_array_length(request, '$.images'))
  WHERE json_type(request, '$.images') = 'array';

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

INSERT INTO blobs ("digest", "created", "data") VALUES ('3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3', 1795957061296835, X'74776f');

INSERT INTO blobs ("digest", "created", "data") VALUES ('7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed', 1795957061296835, X'6f6e65');

INSERT INTO blobs ("digest", "created", "data") VALUES ('b2917681b4f4fee3ef345ae33557fbe7ddbee9e0851efbff9cad5708ef1ad247', 1795957061193465, X'616e6f746865722070696374757265');

INSERT INTO entries ("number", "id", "job_id", "index", "owner", "created", "width", "height", "decision", "unsafe", "mode", "seed", "steps", "sampler", "checkpoint", "family", "kind", "size", "sha256", "missing", "favourite") VALUES (1, '1m86ptpg0zvdgmp1p28c00', 'job-1', 0, 'anna', 1795521600000000, 32, 16, 'allow', 0.125, 'text-to-image', 1, 20, 'Euler a', 'starter', 'sd1-starter', 'png', 2818, 'f928ed5ccebcaa908f569b937388b6e41364425d29b3238ff3237eb7daee6974', 0, 1);

INSERT INTO entries ("number", "id", "job_id", "index", "owner", "created", "width", "height", "decision", "unsafe", "mode", "seed", "steps", "sampler", "checkpoint", "family", "kind", "size", "sha256", "missing", "favourite") VALUES (2, '1m86ptpg0ze8p8wstxe6g0', 'job-2', 0, 'anna', 1795521600000000, 32, 16, 'review', 0.125, 'text-to-image', 2, 20, 'Euler a', 'starter', 'sd1-starter', 'png', 2854, '1404c7bb7274eaf6bf8a90f8f123c1da27243d810dfddc4816eb73645e0b8cc8', 0, 0);

INSERT INTO entries ("number", "id", "job_id", "index", "owner", "created", "width", "height", "decision", "unsafe", "mode", "seed", "steps", "sampler", "checkpoint", "family", "kind", "size", "sha256", "missing", "favourite") VALUES (3, '1m86ptpg0524dk0sd2q6da', 'job-3', 0, 'anna', 1795521600000000, 32, 16, 'block', 0.125, 'text-to-image', 3, 20, 'Euler a', 'starter', 'sd1-starter', NULL, 0, NULL, 0, 0);

INSERT INTO entries ("number", "id", "job_id", "index", "owner", "created", "width", "height", "decision", "unsafe", "mode", "seed", "steps", "sampler", "checkpoint", "family", "kind", "size", "sha256", "missing", "favourite") VALUES (4, '1m86ptpg064es8n3eehkcd', 'job-4', 0, 'anna', 1795521600000000, 32, 16, 'allow', 0.125, 'text-to-image', 4, 20, 'Euler a', 'starter', 'sd1-starter', 'png', 2818, 'a9c87ff0bad77f912fec410604f2d2a4e47f689827cf5dd82236e2839a7da1a6', 0, 0);

INSERT INTO entry_words ("rowid", "prompt", "negative", "rest") VALUES (1, 'a red apple', 'blurry', 'negative prompt steps 20 sampler euler cfg scale 7 seed 1 size 32x16 model hash ababababab model starter version safelight 0 2 0');

INSERT INTO entry_words ("rowid", "prompt", "negative", "rest") VALUES (2, 'a green pear it s ripe', 'blurry', 'negative prompt steps 20 sampler euler cfg scale 7 seed 2 size 32x16 model hash ababababab model starter version safelight 0 2 0');

INSERT INTO entry_words ("rowid", "prompt", "negative", "rest") VALUES (3, 'a blocked one', 'blurry', 'negative prompt steps 20 sampler euler cfg scale 7 seed 3 size 32x16 model hash ababababab model starter version safelight 0 2 0');

INSERT INTO entry_words ("rowid", "prompt", "negative", "rest") VALUES (4, 'without any', 'blurry', 'negative prompt steps 20 sampler euler a cfg scale 7 seed 4 size 32x16 model hash ababababab model starter version safelight 0 2 0');

INSERT INTO jobs ("id", "owner", "kind", "state", "request", "priority", "turn", "cost", "passed", "checkpoint", "timeout", "idempotency_key", "request_id", "created", "started", "ended", "expires", "attempt", "lost", "worker", "lease", "signal", "progress", "result", "error", "summary") VALUES ('1a22761f49ce9b4a71d245587a6', 'anna', 'generate', 'succeeded', '{"prompt": "a red apple, 0", "seed": 0}', 0, 1.0, 1.0, 0, 'starter', NULL, NULL, 'r-1', 1795957060.7661443, 1795957060.861195, 1795957060.9049509, 1796561860.9049509, 1, 0, 'here:cpu:0', NULL, NULL, NULL, '{"pictures": [{"id": "1", "url": null, "scores": {"sfw": 0.875}}]}', NULL, NULL);

INSERT INTO jobs ("id", "owner", "kind", "state", "request", "priority", "turn", "cost", "passed", "checkpoint", "timeout", "idempotency_key", "request_id", "created", "started", "ended", "expires", "attempt", "lost", "worker", "lease", "signal", "progress", "result", "error", "summary") VALUES ('1a22761f551b9a05b973c2a43c6', 'anna', 'generate', 'failed', '{"prompt": "a red apple, 1", "seed": 1}', 0, 2.0, 1.0, 0, 'starter', NULL, NULL, 'r-1', 1795957060.9615364, 1795957060.995067, 1795957060.9969223, 1796561860.9969223, 1, 0, 'here:cpu:0', NULL, NULL, NULL, NULL, '{"code": "request", "message": "0 steps are too few; it''s no error of ours.", "hint": "docs/generation.md lists every field with its range."}', NULL);

INSERT INTO jobs ("id", "owner", "kind", "state", "request", "priority", "turn", "cost", "passed", "checkpoint", "timeout", "idempotency_key", "request_id", "created", "started", "ended", "expires", "attempt", "lost", "worker", "lease", "signal", "progress", "result", "error", "summary") VALUES ('1a22761f5a63d732d6e140bc299', 'anna', 'upscale', 'cancelled', '{"image": {"blob": "92b2fa58028958317e408bd84ecfa70f5ee35b121991dbc232c49d166353708b"}}', 0, 3.0, 1.0, 0, '', NULL, NULL, 'r-1', 1795957061.0314565, NULL, 1795957061.0660372, 1796561861.0660372, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

INSERT INTO jobs ("id", "owner", "kind", "state", "request", "priority", "turn", "cost", "passed", "checkpoint", "timeout", "idempotency_key", "request_id", "created", "started", "ended", "expires", "attempt", "lost", "worker", "lease", "signal", "progress", "result", "error", "summary") VALUES ('1a22761f605fe221128ce8a49e2', 'anna', 'generate', 'running', '{"prompt": "a kitchen; a table\nand ''chairs'' \\ 100 %", "seed": 7}', 0, 3.0, 1.0, 0, 'starter', NULL, NULL, 'r-1', 1795957061.1256258, 1795957061.1455634, NULL, NULL, 1, 0, 'here:cpu:0', 1795957076.1455634, NULL, '{"stage":"first pass","step":3,"steps":20,"picture":0,"pictures":1,"fraction":0.15,"seconds":0.5}', NULL, NULL, NULL);

INSERT INTO jobs ("id", "owner", "kind", "state", "request", "priority", "turn", "cost", "passed", "checkpoint", "timeout", "idempotency_key", "request_id", "created", "started", "ended", "expires", "attempt", "lost", "worker", "lease", "signal", "progress", "result", "error", "summary") VALUES ('1a22761f6485f9b7473cf863cc9', 'anna', 'generate', 'queued', '{"init_image": {"blob": "b2917681b4f4fee3ef345ae33557fbe7ddbee9e0851efbff9cad5708ef1ad247"}, "prompt": "ein gr\u00fcner Apfel"}', 0, 4.0, 1.0, 0, 'starter', NULL, 'again-1', 'r-1', 1795957061.193142, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

INSERT INTO jobs ("id", "owner", "kind", "state", "request", "priority", "turn", "cost", "passed", "checkpoint", "timeout", "idempotency_key", "request_id", "created", "started", "ended", "expires", "attempt", "lost", "worker", "lease", "signal", "progress", "result", "error", "summary") VALUES ('1a22761f68944b6a9244cce060c', 'anna', 'scan', 'queued', '{"images": [{"blob": "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"}, {"blob": "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"}, {"blob": "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"}]}', 0, 5.0, 1.0, 0, '', NULL, NULL, 'r-1', 1795957061.2963977, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, '{"images": 3}');

INSERT INTO keys ("id", "name", "active_name", "digest", "role", "pictures_per_day", "megapixels_per_day", "created", "used", "revoked") VALUES ('3bd473d8fe18', 'bert', NULL, 'a814c24469540dfa368e2a2c26dbcfcd8490f79d92cde5461071ea816e6e707f', 'user', NULL, NULL, 1795957062.3939335, NULL, 1795957062.403553);

INSERT INTO keys ("id", "name", "active_name", "digest", "role", "pictures_per_day", "megapixels_per_day", "created", "used", "revoked") VALUES ('b210c08c73f2', 'anna', 'anna', '7c18b5f29d766de9d7957050a9a5ec9336bdf0982e1fbe57c40e3f1085680455', 'user', 100, 250.5, 1795957062.3848832, 1795957062.391087, NULL);

INSERT INTO memory_orders ("number", "checkpoint", "load") VALUES (1, 'starter', 1);

INSERT INTO schema_versions ("part", "version") VALUES ('blobs', 1);

INSERT INTO schema_versions ("part", "version") VALUES ('gallery', 2);

INSERT INTO schema_versions ("part", "version") VALUES ('jobs', 5);

INSERT INTO schema_versions ("part", "version") VALUES ('keys', 2);

INSERT INTO timings ("key", "seconds") VALUES ('generate starter', 1.5);

INSERT INTO turn_clock ("priority", "turn") VALUES (0, 3.0);

INSERT INTO workers ("name", "host", "pid", "device", "precision", "backend", "why", "state", "loading", "last_error", "checkpoints", "memory", "started", "seen") VALUES ('here:cpu:0', 'here', 1234, 'cpu', 'fp32', 'eager', 'There is no GPU.', 'busy', NULL, 'null', '["starter"]', 1250000000.0, 1795957061.349527, 1795957061.3495271);

INSERT INTO entry_details ("number", "prompt", "negative_prompt", "infotext", "record", "checkpoint_digest", "policy", "scores", "embedding") VALUES (1, 'a red apple', 'blurry', 'a red apple
Negative prompt: blurry
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 32x16, Model hash: ababababab, Model: starter, Version: Safelight 0.2.0', '{"format":1,"versions":{"safelight":"0.2.0","torch":"2","diffusers":"0.42","transformers":"5"},"machine":{"device":"cpu","precision":"fp32","backend":"eager","threads":2},"batched":false,"mode":"text-to-image","checkpoint":{"name":"starter","family":"sd1-starter","digest":"abababababababababababababababababababababababababababababababab"},"adapters":[],"prompt":"a red apple","negative_prompt":"blurry","styles":[],"expanded_prompt":"a red apple","expanded_negative_prompt":"blurry","seed":1,"variation":null,"width":32,"height":16,"steps":20,"sampler":"Euler a","schedule":null,"eta":null,"guidance_scale":7.0,"guidance_rescale":0.0,"guidance_start":0.0,"guidance_end":1.0,"guidance_method":"cfg","pag_scale":0.0,"clip_skip":1,"init_image":null,"mask":null,"strength":null,"inpaint":null,"outpaint":null,"hires":null,"verdict":{"policy":"standard","version":"1","digest":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","decision":"allow"},"file":null,"notes":[]}', 'abababababababababababababababababababababababababababababababab', 'standard', '{"sfw": 0.875, "nsfw": 0.125}', X'000080bf6edb36bfb76ddbbe254912be2549123eb76ddb3e6edb363f0000803f');

INSERT INTO entry_details ("number", "prompt", "negative_prompt", "infotext", "record", "checkpoint_digest", "policy", "scores", "embedding") VALUES (2, 'a green pear; it''s ripe', 'blurry', 'a green pear; it''s ripe
Negative prompt: blurry
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 2, Size: 32x16, Model hash: ababababab, Model: starter, Version: Safelight 0.2.0', '{"format":1,"versions":{"safelight":"0.2.0","torch":"2","diffusers":"0.42","transformers":"5"},"machine":{"device":"cpu","precision":"fp32","backend":"eager","threads":2},"batched":false,"mode":"text-to-image","checkpoint":{"name":"starter","family":"sd1-starter","digest":"abababababababababababababababababababababababababababababababab"},"adapters":[],"prompt":"a green pear; it''s ripe","negative_prompt":"blurry","styles":[],"expanded_prompt":"a green pear; it''s ripe","expanded_negative_prompt":"blurry","seed":2,"variation":null,"width":32,"height":16,"steps":20,"sampler":"Euler a","schedule":null,"eta":null,"guidance_scale":7.0,"guidance_rescale":0.0,"guidance_start":0.0,"guidance_end":1.0,"guidance_method":"cfg","pag_scale":0.0,"clip_skip":1,"init_image":null,"mask":null,"strength":null,"inpaint":null,"outpaint":null,"hires":null,"verdict":{"policy":"standard","version":"1","digest":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","decision":"allow"},"file":null,"notes":[]}', 'abababababababababababababababababababababababababababababababab', 'standard', '{"sfw": 0.875, "nsfw": 0.125}', X'000000c06edbb6bfb76d5bbf254992be2549923eb76d5b3f6edbb63f00000040');

INSERT INTO entry_details ("number", "prompt", "negative_prompt", "infotext", "record", "checkpoint_digest", "policy", "scores", "embedding") VALUES (3, 'a blocked one', 'blurry', 'a blocked one
Negative prompt: blurry
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 3, Size: 32x16, Model hash: ababababab, Model: starter, Version: Safelight 0.2.0', '{"format":1,"versions":{"safelight":"0.2.0","torch":"2","diffusers":"0.42","transformers":"5"},"machine":{"device":"cpu","precision":"fp32","backend":"eager","threads":2},"batched":false,"mode":"text-to-image","checkpoint":{"name":"starter","family":"sd1-starter","digest":"abababababababababababababababababababababababababababababababab"},"adapters":[],"prompt":"a blocked one","negative_prompt":"blurry","styles":[],"expanded_prompt":"a blocked one","expanded_negative_prompt":"blurry","seed":3,"variation":null,"width":32,"height":16,"steps":20,"sampler":"Euler a","schedule":null,"eta":null,"guidance_scale":7.0,"guidance_rescale":0.0,"guidance_start":0.0,"guidance_end":1.0,"guidance_method":"cfg","pag_scale":0.0,"clip_skip":1,"init_image":null,"mask":null,"strength":null,"inpaint":null,"outpaint":null,"hires":null,"verdict":{"policy":"standard","version":"1","digest":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","decision":"allow"},"file":null,"notes":[]}', 'abababababababababababababababababababababababababababababababab', 'standard', '{"sfw": 0.875, "nsfw": 0.125}', X'000080bf6edb36bfb76ddbbe254912be');

INSERT INTO entry_details ("number", "prompt", "negative_prompt", "infotext", "record", "checkpoint_digest", "policy", "scores", "embedding") VALUES (4, 'without any', 'blurry', 'without any
Negative prompt: blurry
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 4, Size: 32x16, Model hash: ababababab, Model: starter, Version: Safelight 0.2.0', '{"format":1,"versions":{"safelight":"0.2.0","torch":"2","diffusers":"0.42","transformers":"5"},"machine":{"device":"cpu","precision":"fp32","backend":"eager","threads":2},"batched":false,"mode":"text-to-image","checkpoint":{"name":"starter","family":"sd1-starter","digest":"abababababababababababababababababababababababababababababababab"},"adapters":[],"prompt":"without any","negative_prompt":"blurry","styles":[],"expanded_prompt":"without any","expanded_negative_prompt":"blurry","seed":4,"variation":null,"width":32,"height":16,"steps":20,"sampler":"Euler a","schedule":null,"eta":null,"guidance_scale":7.0,"guidance_rescale":0.0,"guidance_start":0.0,"guidance_end":1.0,"guidance_method":"cfg","pag_scale":0.0,"clip_skip":1,"init_image":null,"mask":null,"strength":null,"inpaint":null,"outpaint":null,"hires":null,"verdict":{"policy":"standard","version":"1","digest":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","decision":"allow"},"file":null,"notes":[]}', 'abababababababababababababababababababababababababababababababab', 'standard', '{"sfw": 0.875, "nsfw": 0.125}', NULL);

INSERT INTO entry_tags ("tag", "number") VALUES ('fruit', 1);

INSERT INTO entry_tags ("tag", "number") VALUES ('red', 1);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (1, '1a22761f49ce9b4a71d245587a6', 'state', '{"state": "queued"}', 1795957060.7881398);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (2, '1a22761f49ce9b4a71d245587a6', 'state', '{"state": "running", "attempt": 1}', 1795957060.888767);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (3, '1a22761f49ce9b4a71d245587a6', 'state', '{"state": "succeeded"}', 1795957060.9255428);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (4, '1a22761f551b9a05b973c2a43c6', 'state', '{"state": "queued"}', 1795957060.9621053);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (5, '1a22761f551b9a05b973c2a43c6', 'state', '{"state": "running", "attempt": 1}', 1795957060.9957035);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (6, '1a22761f551b9a05b973c2a43c6', 'state', '{"state": "failed", "error": {"code": "request", "message": "0 steps are too few; it''s no error of ours.", "hint": "docs/generation.md lists every field with its range."}}', 1795957060.9975579);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (7, '1a22761f5a63d732d6e140bc299', 'state', '{"state": "queued"}', 1795957061.033168);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (8, '1a22761f5a63d732d6e140bc299', 'state', '{"state": "cancelled"}', 1795957061.1057673);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (9, '1a22761f605fe221128ce8a49e2', 'state', '{"state": "queued"}', 1795957061.1261926);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (10, '1a22761f605fe221128ce8a49e2', 'state', '{"state": "running", "attempt": 1}', 1795957061.1460745);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (11, '1a22761f605fe221128ce8a49e2', 'progress', '{"stage": "first pass", "step": 3, "steps": 20, "picture": 0, "pictures": 1, "fraction": 0.15, "seconds": 0.5}', 1795957061.1893404);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (12, '1a22761f605fe221128ce8a49e2', 'preview', '{"number": 1}', 1795957061.1909375);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (13, '1a22761f6485f9b7473cf863cc9', 'state', '{"state": "queued"}', 1795957061.1938188);

INSERT INTO events ("id", "job_id", "kind", "data", "created") VALUES (14, '1a22761f68944b6a9244cce060c', 'state', '{"state": "queued"}', 1795957061.2975876);

INSERT INTO job_blobs ("job_id", "digest") VALUES ('1a22761f6485f9b7473cf863cc9', 'b2917681b4f4fee3ef345ae33557fbe7ddbee9e0851efbff9cad5708ef1ad247');

INSERT INTO job_blobs ("job_id", "digest") VALUES ('1a22761f68944b6a9244cce060c', '3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3');

INSERT INTO job_blobs ("job_id", "digest") VALUES ('1a22761f68944b6a9244cce060c', '7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed');

INSERT INTO job_inputs ("job_id", "owner", "bytes") VALUES ('1a22761f6485f9b7473cf863cc9', 'anna', 15);

INSERT INTO job_inputs ("job_id", "owner", "bytes") VALUES ('1a22761f68944b6a9244cce060c', 'anna', 6);

INSERT INTO key_sessions ("digest", "key_id", "opened", "expires") VALUES ('e84237e1dec2bd438369bf9c6fbfcd577f4b57289373d1b1741ed0eb1c1429c0', 'b210c08c73f2', 1795957062.404019, 1798549062.404019);

INSERT INTO key_usage ("key_id", "day", "pictures", "pixels") VALUES ('b210c08c73f2', 20786, 3, 786432);

INSERT INTO previews ("job_id", "number", "data") VALUES ('1a22761f605fe221128ce8a49e2', 1, X'0077656270ff');

DELETE FROM sqlite_sequence;

INSERT INTO sqlite_sequence (name, seq) VALUES ('entries', 5);

INSERT INTO sqlite_sequence (name, seq) VALUES ('events', 14);

INSERT INTO sqlite_sequence (name, seq) VALUES ('memory_orders', 1);
