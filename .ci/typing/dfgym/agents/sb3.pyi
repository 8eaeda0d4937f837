from agents.sb3 import *
