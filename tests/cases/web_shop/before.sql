CREATE TABLE customers (
  id int unsigned AUTO_INCREMENT PRIMARY KEY,
  email varchar(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NOT NULL,
  name varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL DEFAULT '',
  newsletter tinyint(1) NOT NULL DEFAULT 0,
  balance decimal(12,2) NOT NULL DEFAULT 0.00,
  created timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  UNIQUE KEY email (email)
) ENGINE=InnoDB;
CREATE TABLE products (
  sku varchar(32) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY,
  title text CHARACTER SET utf8mb4,
  price decimal(10,4) NOT NULL,
  state enum('draft', 'on sale', 'sold out') NOT NULL DEFAULT 'draft',
  tags set('new', 'eco', 'sale') NOT NULL DEFAULT '',
  details json,
  photo mediumblob
) ENGINE=InnoDB;
CREATE TABLE orders (
  id bigint unsigned AUTO_INCREMENT PRIMARY KEY,
  customer_id int unsigned NOT NULL,
  placed datetime(3) NOT NULL,
  paid datetime NULL,
  KEY customer (customer_id),
  CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customers (id)
) ENGINE=InnoDB;
CREATE TABLE order_lines (
  order_id bigint unsigned NOT NULL,
  line smallint NOT NULL,
  sku varchar(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  quantity int NOT NULL,
  discount float,
  PRIMARY KEY (order_id, line),
  CONSTRAINT lines_order FOREIGN KEY (order_id) REFERENCES orders (id),
  CONSTRAINT lines_product FOREIGN KEY (sku) REFERENCES products (sku)
) ENGINE=InnoDB;
SET NAMES utf8mb4;
INSERT INTO customers VALUES
  (1, 'ada@example.org', 'Ada ''the first''', 1, 1234567890.12, '2024-02-29 12:00:00'),
  (2, 'bob@example.org', '', 0, -0.01, '2001-09-09 01:46:40'),
  (7, 'zoë@example.org', 'Zoë 😀', 5, 0.00, '2038-01-19 03:14:07');
INSERT INTO products VALUES
  ('A-1', 'Kaffee "Süß"', 4.9900, 'on sale', 'new,eco', '{"kg": 1.50, "from": ["ET", null]}', x'00ff0a5c27'),
  ('B-2', NULL, 0.0001, 'draft', '', NULL, NULL),
  ('b-2', '\\N', 999999.9999, 'sold out', 'sale', '[]', x'');
INSERT INTO orders VALUES
  (1, 1, '2024-03-31 02:30:00.125', '2024-04-01 00:00:00'), (2, 7, '2024-10-27 02:30:00', NULL),
  (18446744073709551615, 1, '1999-12-31 23:59:59.999', NULL);
INSERT INTO order_lines VALUES
  (1, 1, 'A-1', 2, 0.1), (1, 2, 'b-2', 1, NULL), (2, 1, 'B-2', -1, 1e10),
  (18446744073709551615, 1, 'A-1', 0, 0);
