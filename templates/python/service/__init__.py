"""{{name}}: a service of Royalcrown. `python3 -m service` starts it."""

# The service's name in the catalog.
NAME = "{{name}}"
