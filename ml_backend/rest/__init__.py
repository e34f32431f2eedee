"""The HTTP interface: routes, credentials, limits, metrics and the OpenAPI document."""
