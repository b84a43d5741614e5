# Included by the start scripts of the stack's services.

# secret NAME: prints $NAME, or the content of the file $NAME_FILE. If the secret is missing or weak, it
# ends the script with one line.
secret() {
    eval "secret_value=\${$1-} secret_file=\${$1_FILE-}"
    if [ -z "$secret_value" ] && [ -n "$secret_file" ]; then
        secret_value=$(cat "$secret_file") || exit 1
    fi
    if [ "${#secret_value}" -lt 32 ]; then
        echo "error: $1 is missing or weak: it needs at least 32 characters, drawn at random" >&2
        exit 1
    fi
    printf %s "$secret_value"
}
