from agents.search import *
