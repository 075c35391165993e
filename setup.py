"""Adds the top-level ``cli.py`` to the package as ``fastbert.cli``; all else is in pyproject.toml.

setuptools maps folders to packages (``package-dir``) but has no such table for a single module.
"""

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithCli(build_py):
    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        modules = super().find_package_modules(package, package_dir)
        return [*modules, ("fastbert", "cli", "cli.py")] if package == "fastbert" else modules


setup(cmdclass={"build_py": BuildWithCli})
