from agents.recurrent_ppo import *
