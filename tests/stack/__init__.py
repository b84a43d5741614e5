"""docker-compose.yml in containers: `make stack-test`."""
