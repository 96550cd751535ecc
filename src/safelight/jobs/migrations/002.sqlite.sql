CREATE TABLE unloading (
  id INTEGER NOT NULL,
  asked FLOAT NOT NULL,
  PRIMARY KEY (id)
);
