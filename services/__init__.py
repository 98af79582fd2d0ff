"""The four services. They share `shared/`; none uses the code, the tables or the HTTP interface of another."""
