CREATE TABLE adapter_favourites (
  owner VARCHAR(200) NOT NULL,
  kind VARCHAR(20) NOT NULL,
  place TEXT NOT NULL,
  PRIMARY KEY (owner, kind, place)
);
