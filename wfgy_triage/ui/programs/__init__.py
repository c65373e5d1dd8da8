"""Programs as users: the same calls over HTTP (Gradio's own client, or any other) and for agents (MCP)."""
