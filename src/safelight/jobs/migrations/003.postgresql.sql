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
