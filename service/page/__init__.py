"""The page: what people see of a service in a browser, rendered here, and readable without JavaScript."""
