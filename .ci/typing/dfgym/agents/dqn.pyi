from agents.dqn import *
