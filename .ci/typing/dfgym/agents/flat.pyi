from agents.flat import *
