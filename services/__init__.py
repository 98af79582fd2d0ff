"""The four services. They share the language, never code of each other, tables or HTTP calls."""
