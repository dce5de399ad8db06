"""The web border: plain FastAPI routes, one error envelope, sign-in and the guard in front of everything."""
