"""What can go wrong in a store, told apart by whether trying again may help."""


class StoreError(Exception):
    """Something went wrong in a server. The text is for the log and for an operator."""


class TransientStoreError(StoreError):
    """Trying again may help: the server is away, busy or starting."""


class PermanentStoreError(StoreError):
    """Trying again will not help: a right is missing, a name is someone else's, ..."""
