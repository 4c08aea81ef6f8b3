"""One module per version of the schema; they are never changed once released."""
