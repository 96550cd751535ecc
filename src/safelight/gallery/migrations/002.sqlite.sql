CREATE VIRTUAL TABLE entry_words USING fts5(prompt, negative, rest, tokenize='ascii', prefix='1 2 3');

CREATE TRIGGER entry_words_follow AFTER DELETE ON entries BEGIN
  DELETE FROM entry_words WHERE rowid = old.number;
END;
