"""One module for each command. Light to import: what is heavy is imported by the function that needs it.

serve, gateway, plan, doctor   one function each, registered by `app.cli`
engine, models, snapshot       groups, each a `typer.Typer` called `commands`
"""
