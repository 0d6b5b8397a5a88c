"""Started by torchrun: trains by each of the settings in a JSON file, one after the other, in the same processes."""

import json
import sys
from pathlib import Path

from seeworth.settings import TrainSettings
from seeworth.train.run import run

for asked in json.loads(Path(sys.argv[1]).read_text()):
    run(TrainSettings(**asked | {"data": Path(asked["data"]), "output_dir": Path(asked["output_dir"])}))
