from agents.saved import *
