from agents.ppo import *
