# setup.sh FOLDER: put the word of the day, from WORD, where all tasks of the node find it.
# On a node in the cloud this would be the place for: apt-get update && apt-get install -y ffmpeg

set -eu
printf '%s\n' "$WORD" > "$1/word.new"
mv "$1/word.new" "$1/word"
