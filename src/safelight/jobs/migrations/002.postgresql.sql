CREATE TABLE unloading (
  id SERIAL NOT NULL,
  asked FLOAT NOT NULL,
  PRIMARY KEY (id)
);
