"""The version, and whether another distribution with our import name is in the way."""

__version__ = "0.1.0"


def other_fastbert() -> str | None:
    """Return what to do where the unrelated package ``fastbert`` is installed too, whose files are named like ours."""
    from importlib.metadata import PackageNotFoundError, version  # takes longer than the rest of `import fastbert`

    try:
        found = version("fastbert")
    except PackageNotFoundError:
        return None
    return (
        f"The package fastbert {found} is installed in this environment. It is another project with the same import "
        "name, and one overwrites the other's files. Remove it and install this one again: pip uninstall -y fastbert; "
        "pip install --force-reinstall --no-deps fastbert-deploy"
    )
