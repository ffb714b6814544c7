"""Files of users and generated videos: where they come from, where they lie, how they are sent."""
