"""Who may do what to which connection, schema, table or prefix."""
