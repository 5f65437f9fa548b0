-- only mariadb
CREATE TABLE customers (
  id int unsigned PRIMARY KEY,
  email varchar(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NOT NULL UNIQUE,
  name varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL DEFAULT '',
  newsletter tinyint(1) NOT NULL DEFAULT 0,
  balance decimal(12,2) NOT NULL DEFAULT 0.00,
  created timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
) ENGINE=InnoDB;
CREATE TABLE orders (
  id bigint unsigned PRIMARY KEY,
  customer_id int unsigned NOT NULL,
  placed datetime(3) NOT NULL,
  paid datetime NULL,
  CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customers (id) ON DELETE CASCADE
) ENGINE=InnoDB;
