CREATE TABLE embeddings (id int PRIMARY KEY, v vector(3), w vector);
INSERT INTO embeddings VALUES
  (1, STRING_TO_VECTOR('[1,2,3]'), STRING_TO_VECTOR('[1]')),
  (2, STRING_TO_VECTOR('[0,-0.5,1e-30]'), STRING_TO_VECTOR('[1,2]')),
  (3, STRING_TO_VECTOR('[3.4e38,1]'), NULL), (4, NULL, NULL);
