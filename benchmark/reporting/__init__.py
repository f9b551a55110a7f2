"""From statistics to what people read: figures, tables, the page, submissions."""
