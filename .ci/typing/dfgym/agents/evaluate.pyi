from agents.evaluate import *
