from agents.shooting import *
