"""Who may do what: tokens, signed upload URLs, the application's own login (floor 4).

Each module proves callers by one kind of credential and implements `gates.Authorizer`;
`chain` joins them.
"""
