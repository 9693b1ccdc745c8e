"""Third-party libraries that graphs may use: langchain-core, pydantic, jsonschema."""
