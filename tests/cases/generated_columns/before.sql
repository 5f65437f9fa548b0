CREATE TABLE plain_there (
  id int PRIMARY KEY, a int,
  v int GENERATED ALWAYS AS (a * 2) VIRTUAL,
  s int GENERATED ALWAYS AS (a * 3) STORED,
  k varchar(20) CHARACTER SET utf8mb4 GENERATED ALWAYS AS (CONCAT('x', a)) STORED
);
CREATE TABLE generated_there LIKE plain_there;
INSERT INTO plain_there (id, a) VALUES (1, 10), (2, NULL), (3, -5);
INSERT INTO generated_there (id, a) SELECT id, a FROM plain_there;
