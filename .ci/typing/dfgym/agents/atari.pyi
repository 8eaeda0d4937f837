from agents.atari import *
