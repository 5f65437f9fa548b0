-- only mariadb
CREATE TABLE unwritable (id int PRIMARY KEY, v varchar(20)) ENGINE=Aria;
-- only mysql
CREATE TABLE unwritable (id int PRIMARY KEY, v varchar(20)) ENGINE=MEMORY;
