"""``python -m beltsight``"""

from beltsight.cli.app import main

main()
