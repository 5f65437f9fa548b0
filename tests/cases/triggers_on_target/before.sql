CREATE TABLE logged (id int PRIMARY KEY, v varchar(20));
CREATE TABLE changed LIKE logged;
CREATE TABLE stopped LIKE logged;
INSERT INTO logged VALUES (1, 'a'), (2, 'b'), (3, 'c');
INSERT INTO changed SELECT * FROM logged;
INSERT INTO stopped SELECT * FROM logged;
